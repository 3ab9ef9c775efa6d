"""Any image source to pixels, safely. Knows no model."""
