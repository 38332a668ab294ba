// Package auth owns the cluster's secrets: the tokens that let callers in, and the key that seals secret values and
// registry passwords before they are stored.
//
// It never logs, never puts a secret into an error, and keeps no plain value longer than a call. It knows the shape
// of what it makes (api.Token, api.SealedSecret), not where that is kept. [Key] is immutable and safe for concurrent
// use. Start at [LoadKey] and [NewToken].
package auth
