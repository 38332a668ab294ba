package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"regexp"
	"time"

	"github.com/ikada/ikada/api"
)

// TokenPrefix begins every token, so that people and secret scanners know one when they see it.
const TokenPrefix = "ikt_"

// Root is the user on a node's unix socket; no token is theirs.
const Root = "root"

const (
	tokenBytes = 32 // 256 bit
	maxGrants  = 32
)

var tokenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

const nameRule = "1 to 63 characters of a-z, 0-9, '.', '_' and '-', the first and last a letter or digit"

// NewToken makes a token with a random secret of 256 bit, and gives both. Only the secret's hash stands in the token,
// so the secret is known to nobody afterwards. Errors are of kind Invalid.
func NewToken(req api.TokenRequest, now time.Time) (api.Token, string, error) {
	t := api.Token{Name: req.Name, User: req.User, Grants: req.Grants, CreatedAt: now.UTC()}
	if !tokenName.MatchString(t.Name) {
		return api.Token{}, "", api.FieldError("name", t.Name, nameRule)
	}
	if t.User == "" {
		t.User = t.Name
	}
	if !tokenName.MatchString(t.User) || t.User == Root {
		return api.Token{}, "", api.FieldError("user", t.User, nameRule+"; root is who calls on the node's socket")
	}
	if req.ExpiresIn < 0 {
		return api.Token{}, "", api.FieldError("expiresIn", req.ExpiresIn.String(), "a positive duration, or 0 for a token that never expires")
	}
	if len(t.Grants) > maxGrants {
		return api.Token{}, "", api.FieldError("grants", fmt.Sprint(len(t.Grants)), fmt.Sprintf("at most %d", maxGrants))
	}
	for i, g := range t.Grants {
		if err := g.Validate(); err != nil {
			return api.Token{}, "", fmt.Errorf("grants[%d]: %w", i, err)
		}
	}
	t.Grants = t.Rights()
	secret := newSecret()
	t.Hash = HashToken(secret)
	if req.ExpiresIn > 0 {
		t.ExpiresAt = now.Add(req.ExpiresIn.Std()).UTC()
	}
	return t, secret, nil
}

// Rotate gives a token with a new secret, and that. The old secret lets in for a grace time besides, but no longer
// than the token did; one that a former rotation had replaced ends now. Errors are of kind Invalid.
func Rotate(t api.Token, req api.RotateRequest, now time.Time) (api.Token, string, error) {
	grace := api.DefaultGrace
	if req.Grace != nil {
		grace = req.Grace.Std()
	}
	if grace < 0 || grace > api.MaxGrace {
		return api.Token{}, "", api.FieldError("grace", grace.String(), fmt.Sprintf("0 to %s", api.MaxGrace))
	}
	if req.ExpiresIn < 0 {
		return api.Token{}, "", api.FieldError("expiresIn", req.ExpiresIn.String(), "a positive duration, or 0 for as long as at first")
	}
	lasts := req.ExpiresIn.Std()
	if lasts == 0 && !t.ExpiresAt.IsZero() {
		began := t.CreatedAt
		if !t.RotatedAt.IsZero() {
			began = t.RotatedAt
		}
		lasts = t.ExpiresAt.Sub(began)
	}
	t.PreviousHash, t.PreviousUntil = "", time.Time{}
	if grace > 0 && !Expired(t, now) {
		t.PreviousHash, t.PreviousUntil = t.Hash, now.Add(grace).UTC()
		if !t.ExpiresAt.IsZero() && t.ExpiresAt.Before(t.PreviousUntil) {
			t.PreviousUntil = t.ExpiresAt
		}
	}
	secret := newSecret()
	t.Hash, t.RotatedAt, t.ExpiresAt = HashToken(secret), now.UTC(), time.Time{}
	if lasts > 0 {
		t.ExpiresAt = now.Add(lasts).UTC()
	}
	return t, secret, nil
}

func newSecret() string { return TokenPrefix + random() }

// random gives tokenBytes random bytes as text.
func random() string {
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}

// HashToken gives what is kept of a token's secret: SHA-256 in hex. A slow hash would add nothing against 256 random
// bits.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// Found is the token that a secret belongs to.
type Found struct {
	api.Token
	Outdated bool // by the secret before its last rotation
}

// FindToken gives the token that has the secret and is not expired. It compares with every token in constant time,
// so the time taken tells nothing about any of them.
func FindToken(tokens []api.Token, secret string, now time.Time) (Found, bool) {
	hash := []byte(HashToken(secret))
	current, previous := -1, -1
	for i := range tokens {
		current = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare([]byte(tokens[i].Hash), hash), i, current)
		previous = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare([]byte(tokens[i].PreviousHash), hash), i, previous)
	}
	switch {
	case current >= 0 && !Expired(tokens[current], now):
		return Found{Token: tokens[current]}, true
	case previous >= 0 && now.Before(tokens[previous].PreviousUntil):
		return Found{Token: tokens[previous], Outdated: true}, true
	}
	return Found{}, false
}

// Expired tells whether a token's time is over.
func Expired(t api.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}
