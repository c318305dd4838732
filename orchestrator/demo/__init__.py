"""The demo: real baskets through the whole system, with simulated warehouses and carriers."""
