"""Export of trained networks to integer programs for devices."""
