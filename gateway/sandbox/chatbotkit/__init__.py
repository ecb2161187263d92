"""The emulator of ChatBotKit's conversation API: as strict as the vendor is, and without knowledge of the gateway."""
