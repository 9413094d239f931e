"""Our own transport for batches, on the private parts of botocore and urllib3.

Entry: `transport.Transport`. When a private part is missing, the transport sends the request
through boto3 instead.
"""
