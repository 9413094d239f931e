# Creates the DynamoDB tables, and the IAM role of the consumers.
#
#   terraform init
#   terraform apply -var 'tables={"usage":{}}' -var oidc_provider_arn=ARN
#
# If the brokers are Amazon MSK with IAM authentication, add:
#
#   -var 'msk={"cluster_arn":"ARN"}'
#
# The allowed actions are read from run.json and run-msk.json in this folder.
# `dynatomic init --print-iam` prints the same policies.

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
  description = "The tables by name. Set range_key for a table whose items have a range key."
  type        = map(object({ range_key = optional(string) }))
  default     = { usage = {} }
}

variable "oidc_provider_arn" {
  description = "ARN of the IAM OIDC provider of the EKS cluster."
  type        = string
}

variable "service_account" {
  description = "The Kubernetes ServiceAccount as NAMESPACE:NAME."
  type        = string
  default     = "billing:dynatomic"
}

variable "msk" {
  description = "The Amazon MSK cluster with IAM authentication, and the topics and group to allow."
  type = object({
    cluster_arn       = string
    topic             = optional(string, "row-events")
    dead_letter_topic = optional(string) # default: the name of the topic followed by .dlq
    group             = optional(string, "dynatomic")
  })
  default = null

  validation {
    condition     = var.msk == null || can(regex("^arn:aws[a-z-]*:kafka:[a-z0-9-]+:[0-9]{12}:cluster/[^/:*]+/[^/:*]+$", var.msk.cluster_arn))
    error_message = "cluster_arn must be arn:aws:kafka:REGION:ACCOUNT:cluster/NAME/UUID."
  }

  # In a policy, * and ? are wildcards, and $ starts a policy variable.
  validation {
    condition     = var.msk == null || can(regex("^[A-Za-z0-9._-]+$", join("", compact([var.msk.topic, var.msk.dead_letter_topic, var.msk.group]))))
    error_message = "The names of topics and groups may contain only letters, digits, dots, underscores and dashes."
  }
}

locals {
  issuer  = element(split(":oidc-provider/", var.oidc_provider_arn), 1)
  actions = jsondecode(file("${path.module}/run.json")).Statement[0].Action

  # The actions of each statement of run-msk.json, and the resources that it applies to.
  msk_actions = { for each in jsondecode(file("${path.module}/run-msk.json")).Statement : each.Sid => each.Action }
  msk_resources = var.msk == null ? {} : {
    Cluster     = var.msk.cluster_arn
    Topic       = "${replace(var.msk.cluster_arn, ":cluster/", ":topic/")}/${var.msk.topic}"
    DeadLetters = "${replace(var.msk.cluster_arn, ":cluster/", ":topic/")}/${coalesce(var.msk.dead_letter_topic, "${var.msk.topic}.dlq")}"
    Group       = "${replace(var.msk.cluster_arn, ":cluster/", ":group/")}/${var.msk.group}"
  }
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

  # A restore creates a new table. Run `dynatomic verify` on it before you use it in place of the old one.
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

  dynamic "statement" {
    for_each = local.msk_resources
    content {
      sid       = statement.key
      actions   = local.msk_actions[statement.key]
      resources = [statement.value]
    }
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
  description = "The value of the annotation eks.amazonaws.com/role-arn of the ServiceAccount."
  value       = aws_iam_role.consumer.arn
}
