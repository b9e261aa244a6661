"""HTTP interfaces against the OpenAPI documents that they serve, by requests made from those."""
