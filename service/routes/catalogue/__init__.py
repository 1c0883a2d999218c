"""What the bundles hold: ids, items, histories, embeddings and the map; and changes of items."""
