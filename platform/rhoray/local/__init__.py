"""What runs on one machine: a local S3 server and the demo."""
