"""Which type stands in this annotation? Python and TypeScript."""
