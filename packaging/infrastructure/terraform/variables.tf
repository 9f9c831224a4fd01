variable "application" {
  description = "Application, as in the channel"
  type        = string
  default     = "web"
}

variable "deployment_group" {
  description = "Deployment group, as in the channel"
  type        = string
  default     = "production"
}

variable "bucket" {
  description = "Name of the bucket that is made for bundles, releases and the package of hostler"
  type        = string
}

variable "package" {
  description = "Key of hostler's package in the bucket, below packages/"
  type        = string
  default     = "packages/hostler.rpm"
}

variable "image_id" {
  description = "Amazon Machine Image: Amazon Linux 2023 or another one with dnf and the AWS CLI"
  type        = string
}

variable "instance_type" {
  description = "Instance type, of the package's architecture"
  type        = string
  default     = "t3.small"
}

variable "subnet_ids" {
  description = "Subnets of the hosts, with a way to S3 and Auto Scaling (NAT or endpoints)"
  type        = list(string)
}

variable "security_group_ids" {
  description = "Security groups of the hosts"
  type        = list(string)
}

variable "hosts" {
  description = "Number of hosts: 0 until the package and a first release are in the bucket"
  type        = number
  default     = 0
}
