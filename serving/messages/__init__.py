"""What travels over HTTP: the bodies that are taken and given, as OpenAPI shows them."""
