"""Looking for what is damaged, missing or left over, in the cache and in the bucket, and mending it."""
