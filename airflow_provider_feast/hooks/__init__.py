"""What operators and sensors need of a cluster, one method per intention."""
