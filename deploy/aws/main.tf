# The tables, and the role that consumers count with.
#
#   terraform init
#   terraform apply -var 'tables={"usage":{}}' -var oidc_provider_arn=ARN
#
# The actions are those of run.json beside this file, which `dynatomic init --print-iam` prints.

terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

variable "tables" {
  description = "Name of each table; range_key for those whose items have one."
  type        = map(object({ range_key = optional(string) }))
  default     = { usage = {} }
}

variable "oidc_provider_arn" {
  description = "IAM OIDC provider of the EKS cluster."
  type        = string
}

variable "service_account" {
  description = "NAMESPACE:NAME of the Kubernetes ServiceAccount."
  type        = string
  default     = "billing:dynatomic"
}

locals {
  issuer  = element(split(":oidc-provider/", var.oidc_provider_arn), 1)
  actions = jsondecode(file("${path.module}/run.json")).Statement[0].Action
}

resource "aws_dynamodb_table" "counters" {
  for_each = var.tables

  name                        = each.key
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = "pk"
  range_key                   = each.value.range_key
  deletion_protection_enabled = true

  attribute {
    name = "pk"
    type = "S"
  }

  dynamic "attribute" {
    for_each = each.value.range_key == null ? [] : [each.value.range_key]
    content {
      name = attribute.value
      type = "S"
    }
  }

  # Restoring makes a new table: verify it against the topic before it takes the old one's place.
  point_in_time_recovery {
    enabled = true
  }
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = [var.oidc_provider_arn]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:sub"
      values   = ["system:serviceaccount:${var.service_account}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${local.issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
  }
}

data "aws_iam_policy_document" "count" {
  statement {
    sid       = "Tables"
    actions   = local.actions
    resources = [for table in aws_dynamodb_table.counters : table.arn]
  }
}

resource "aws_iam_role" "consumer" {
  name               = "dynatomic"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy" "count" {
  name   = "count"
  role   = aws_iam_role.consumer.id
  policy = data.aws_iam_policy_document.count.json
}

output "role_arn" {
  description = "For the annotation eks.amazonaws.com/role-arn of the ServiceAccount."
  value       = aws_iam_role.consumer.arn
}
