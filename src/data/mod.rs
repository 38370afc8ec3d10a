//! Domains, readers, class mapping and splits.
