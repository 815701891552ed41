from flash_attn import needs_flash_attn as all_gather  # noqa: F401
