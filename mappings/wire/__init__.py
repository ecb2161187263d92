"""JSON shapes of the APIs that the gateway speaks, one module per API; each class names the source of its facts."""
