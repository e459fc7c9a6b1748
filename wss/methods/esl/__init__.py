"""ESL (Ma et al., ICCV 2023): enhanced soft labels, and a contrast of pixels with parts of objects."""
