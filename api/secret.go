package api

import (
	"cmp"
	"time"
)

// SealedSecret is a secret's encrypted value, found by its version: a keyed hash of the plain value.
type SealedSecret struct {
	EnvRef
	Version   string    `json:"version"`
	Sealed    []byte    `json:"sealed"`
	CreatedAt time.Time `json:"createdAt"`
}

// Token lets a caller in over TCP. Only a hash of its secret is kept.
type Token struct {
	Name      string    `json:"name"`
	User      string    `json:"user,omitempty"`   // whose it is; see Holder
	Grants    Grants    `json:"grants,omitempty"` // see Rights
	Hash      string    `json:"hash"`             // SHA-256 of the secret, hex
	CreatedAt time.Time `json:"createdAt"`
	CreatedBy string    `json:"createdBy,omitempty"`
	ExpiresAt time.Time `json:"expiresAt,omitzero"`

	RotatedAt     time.Time `json:"rotatedAt,omitzero"`     // when the secret was last replaced
	PreviousHash  string    `json:"previousHash,omitempty"` // of the secret before
	PreviousUntil time.Time `json:"previousUntil,omitzero"` // when that ends to let in
}

// Holder gives the user whose token it is. Tokens that were made before there were users are their own.
func (t *Token) Holder() string { return cmp.Or(t.User, t.Name) }

// Rights gives what the token lets do. Tokens that were made before there were grants may do everything, as then.
func (t *Token) Rights() Grants {
	if len(t.Grants) == 0 {
		return Grants{{RoleAdmin, Everywhere}}
	}
	return t.Grants
}
