"""A DynamoDB client in memory. Entry: `client.FakeDynamoDB`."""
