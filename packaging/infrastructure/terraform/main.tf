# A store in S3, and an Auto Scaling group whose hosts follow one deployment group of it.

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  name   = "${var.application}-${var.deployment_group}"
  prefix = "deploy"
  store  = "s3://${aws_s3_bucket.store.bucket}/${local.prefix}"

  # The policies that hostler ships, with their words in capitals replaced. The longer word goes first where one holds another.
  words = [
    ["arn:aws:", "arn:${data.aws_partition.current.partition}:"],
    ["APPLICATION/DEPLOYMENT-GROUP", "${var.application}/${var.deployment_group}"],
    ["BUCKET/PREFIX", "${aws_s3_bucket.store.bucket}/${local.prefix}"],
    ["BUCKET", aws_s3_bucket.store.bucket],
    ["REGION:ACCOUNT", "${data.aws_region.current.id}:${data.aws_caller_identity.current.account_id}"],
    ["autoScalingGroupName/GROUP", "autoScalingGroupName/${local.name}"],
  ]
  policies = {
    for name in ["s3-host", "s3-publisher", "auto-scaling", "logs"] : name => replace(replace(replace(replace(replace(replace(
      file("${path.module}/../../iam/${name}.json"),
      local.words[0][0], local.words[0][1]),
      local.words[1][0], local.words[1][1]),
      local.words[2][0], local.words[2][1]),
      local.words[3][0], local.words[3][1]),
      local.words[4][0], local.words[4][1]),
    local.words[5][0], local.words[5][1])
  }
}

# The store. Releases are replaced in place, so old versions of objects are a history too.

resource "aws_s3_bucket" "store" {
  bucket = var.bucket
}

resource "aws_s3_bucket_versioning" "store" {
  bucket = aws_s3_bucket.store.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  depends_on = [aws_s3_bucket_versioning.store]
  bucket     = aws_s3_bucket.store.id
  rule {
    id     = "old-versions"
    status = "Enabled"
    filter {}
    noncurrent_version_expiration {
      noncurrent_days = 90
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

# For the role of your CI: it pushes and releases.

resource "aws_iam_policy" "publisher" {
  name   = "${local.name}-publisher"
  policy = local.policies["s3-publisher"]
}

# The hosts' role.

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "package" {
  statement {
    sid       = "FetchThePackage"
    actions   = ["s3:GetObject"]
    resources = ["${aws_s3_bucket.store.arn}/${var.package}"]
  }
}

resource "aws_iam_role" "host" {
  name               = "${local.name}-host"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "host" {
  for_each = merge(
    { for name in ["s3-host", "auto-scaling", "logs"] : name => local.policies[name] },
    { package = data.aws_iam_policy_document.package.json },
  )
  name   = each.key
  role   = aws_iam_role.host.id
  policy = each.value
}

resource "aws_iam_instance_profile" "host" {
  name = "${local.name}-host"
  role = aws_iam_role.host.name
}

# The hosts.

resource "aws_launch_template" "host" {
  name                   = local.name
  image_id               = var.image_id
  instance_type          = var.instance_type
  vpc_security_group_ids = var.security_group_ids
  update_default_version = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.host.arn
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  user_data = base64encode(templatefile("${path.module}/user-data.sh.tftpl", {
    application = var.application
    group       = var.deployment_group
    store       = local.store
    package     = "s3://${aws_s3_bucket.store.bucket}/${var.package}"
  }))
}

resource "aws_autoscaling_group" "hosts" {
  # The role's policies name this group.
  name                = local.name
  vpc_zone_identifier = var.subnet_ids
  desired_capacity    = var.hosts
  min_size            = var.hosts
  max_size            = var.hosts * 2 + 1
  # hostler decides about a launch. Terraform does not wait for it.
  wait_for_capacity_timeout = "0"
  health_check_type         = "EC2"

  # In the group itself, so that the first hosts have the hooks too. The agent sends heartbeats, so the timeout limits no
  # launch: it says when a host without an agent is given up.
  initial_lifecycle_hook {
    name                 = "hostler-launch"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_LAUNCHING"
    heartbeat_timeout    = 300
    default_result       = "ABANDON"
  }
  initial_lifecycle_hook {
    name                 = "hostler-terminate"
    lifecycle_transition = "autoscaling:EC2_INSTANCE_TERMINATING"
    heartbeat_timeout    = 300
    default_result       = "CONTINUE"
  }

  launch_template {
    id      = aws_launch_template.host.id
    version = aws_launch_template.host.latest_version
  }

  # A new launch template (image, type, user data) replaces the hosts, and each batch waits for its launch hooks.
  # A new release does not: the hosts deploy it themselves.
  instance_refresh {
    strategy = "Rolling"
    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = 150
      instance_warmup        = 0
      auto_rollback          = true
    }
  }

  tag {
    key                 = "Name"
    value               = local.name
    propagate_at_launch = true
  }

  # A host reads its permissions from the role at once.
  depends_on = [aws_iam_role_policy.host]
}
