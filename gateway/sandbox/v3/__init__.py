"""The emulator of V3: as strict as the vendor is, and without knowledge of the gateway."""
