# Makes an AMI with hostler, its configuration and, if you like, the application.
#
#   packer init hostler.pkr.hcl
#   packer build -var package=hostler_0.1.0-1_arm64.deb -var configuration=config.yaml hostler.pkr.hcl
#
# The defaults make a Debian 12 image for arm64. For Amazon Linux 2023: -var source_name='al2023-ami-2023.*-kernel-*-arm64'
# -var source_owner=amazon -var ssh_username=ec2-user, and an rpm. For x86-64: -var architecture=x86_64 -var instance_type=t3.small,
# and names with amd64 (Debian) or x86_64 (Amazon Linux).

packer {
  required_version = ">= 1.9.0"
  required_plugins {
    amazon = {
      version = ">= 1.3.0, < 2.0.0"
      source  = "github.com/hashicorp/amazon"
    }
  }
}

variable "package" {
  type        = string
  description = "The deb or rpm of hostler: a file on the machine that runs Packer."
}

variable "configuration" {
  type        = string
  description = "The configuration of hostler: a file on the machine that runs Packer."
}

variable "deploy" {
  type        = bool
  default     = false
  description = "Whether the image holds the application. The instance that Packer starts needs instance_profile then."
}

variable "instance_profile" {
  type        = string
  default     = ""
  description = "Instance profile of the instance that Packer starts, with the policy s3-host.json; only to deploy."
}

variable "name" {
  type        = string
  default     = "hostler"
  description = "The first part of the image's name."
}

variable "region" {
  type    = string
  default = "eu-central-1"
}

variable "architecture" {
  type    = string
  default = "arm64"
}

variable "instance_type" {
  type    = string
  default = "t4g.small"
}

variable "source_name" {
  type        = string
  default     = "debian-12-arm64-*"
  description = "The name of the image to begin with; Packer takes the newest."
}

variable "source_owner" {
  type        = string
  default     = "136693071363"
  description = "The account or alias that owns the image to begin with. The default is Debian's account."
}

variable "ssh_username" {
  type    = string
  default = "admin"
}

locals {
  # The package manager tells a deb from an rpm by its name.
  uploaded = "/tmp/${basename(var.package)}"
}

source "amazon-ebs" "host" {
  ami_name                    = "${var.name}-${formatdate("YYYYMMDD-hhmmss", timestamp())}"
  ami_description             = "hostler, sealed: a new instance finds out its own identity"
  region                      = var.region
  instance_type               = var.instance_type
  iam_instance_profile        = var.instance_profile
  ssh_username                = var.ssh_username
  associate_public_ip_address = true
  # Instances of the image ask for metadata version 2 only, which is all that hostler uses.
  imds_support = "v2.0"

  source_ami_filter {
    filters = {
      name                = var.source_name
      architecture        = var.architecture
      root-device-type    = "ebs"
      virtualization-type = "hvm"
    }
    owners      = [var.source_owner]
    most_recent = true
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  tags = {
    Name = var.name
  }
}

build {
  sources = ["source.amazon-ebs.host"]

  provisioner "file" {
    source      = var.package
    destination = local.uploaded
  }

  provisioner "file" {
    source      = var.configuration
    destination = "/tmp/hostler-configuration.yaml && rm -f '${local.uploaded}' /tmp/hostler-configuration.yaml"
  }

  # The distribution's own first boot ends before packages are installed.
  provisioner "shell" {
    inline = ["cloud-init status --wait || true"]
  }

  # Add your own provisioners before this one: `hostler seal` is its last step. It leaves no copy of the two files behind.
  provisioner "shell" {
    script           = "${path.root}/install.sh"
    execute_command  = "sudo env {{ .Vars }} sh {{ .Path }} '${local.uploaded}' /tmp/hostler-configuration.yaml && rm -f '${local.uploaded}' /tmp/hostler-configuration.yaml"
    environment_vars = ["HOSTLER_DEPLOY=${var.deploy ? "1" : "0"}"]
  }
}
