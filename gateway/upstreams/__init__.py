"""The stateful APIs behind the gateway, each behind the same face (`base`)."""
