package api

import "time"

// SealedSecret is a secret's encrypted value, found by its version: a keyed hash of the plain value.
type SealedSecret struct {
	EnvRef
	Version   string    `json:"version"`
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"createdAt"`
}

// Token lets a caller in over TCP. Only a hash of it is kept.
type Token struct {
	Name      string    `json:"name"`
	Hash      string    `json:"hash"` // SHA-256 of the token, hex
	CreatedAt time.Time `json:"createdAt"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`
}
