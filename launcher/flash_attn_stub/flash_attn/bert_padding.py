from flash_attn import needs_flash_attn

index_first_axis = pad_input = rearrange = unpad_input = needs_flash_attn
