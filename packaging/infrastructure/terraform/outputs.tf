output "store" {
  description = "The store, for hostler push and hostler release"
  value       = local.store
}

output "publisher_policy_arn" {
  description = "The policy for the role of your CI"
  value       = aws_iam_policy.publisher.arn
}
