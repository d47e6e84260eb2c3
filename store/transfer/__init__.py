"""Bytes on their way: in ranges, each block checked as it lands, resumed where a crash left them."""
