// Package etcd is the product's store: an etcd member inside this process.
//
// It owns the member's data directory and its limits; it opens no socket, since its only client calls it in-process
// and it has no peers. Every acknowledged write is on disk (etcd's write-ahead log is synced before a transaction is
// answered). Transactions are optimistic: they read at one revision and commit only if none of the keys and
// prefixes that they read has changed. Safe for concurrent use. Start at [Open].
package etcd
