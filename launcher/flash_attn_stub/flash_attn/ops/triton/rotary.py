from flash_attn import needs_flash_attn as apply_rotary  # noqa: F401
