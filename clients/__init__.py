"""The brand's side: what runs beside the customer database."""
