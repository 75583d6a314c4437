"""The collector: receives what gateways send, normalises it, seals it, acknowledges once it is durable."""
