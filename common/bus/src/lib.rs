//! See the workspace's README for what this crate will hold.
