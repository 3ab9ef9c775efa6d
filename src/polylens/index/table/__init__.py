"""The pages and their vectors in a storage: one LanceDB table and the manifest that names it."""
