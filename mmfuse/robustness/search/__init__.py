"""Search: how an aligned model's rows find their own items when modalities are absent."""
