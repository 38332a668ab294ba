package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"time"

	"github.com/ikada/ikada/api"
)

// TokenPrefix begins every token, so that people and secret scanners know one when they see it.
const TokenPrefix = "ikt_"

const tokenBytes = 32 // 256 bit

var tokenName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$`)

// NewToken makes a token with a random secret of 256 bit, and gives both. A ttl of 0 means that it never expires.
// Only the secret's hash stands in the token, so the secret is known to nobody afterwards. Errors are of kind
// Invalid.
func NewToken(name string, ttl time.Duration, now time.Time) (api.Token, string, error) {
	if !tokenName.MatchString(name) {
		return api.Token{}, "", api.FieldError("name", name,
			"1 to 63 characters of a-z, 0-9, '.', '_' and '-', the first and last a letter or digit")
	}
	if ttl < 0 {
		return api.Token{}, "", api.FieldError("expiresIn", ttl.String(), "a positive duration, or 0 for a token that never expires")
	}
	var raw [tokenBytes]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	secret := TokenPrefix + base64.RawURLEncoding.EncodeToString(raw[:])
	t := api.Token{Name: name, Hash: HashToken(secret), CreatedAt: now.UTC()}
	if ttl > 0 {
		t.ExpiresAt = now.Add(ttl).UTC()
	}
	return t, secret, nil
}

// HashToken gives what is kept of a token's secret: SHA-256 in hex. A slow hash would add nothing against 256 random
// bits.
func HashToken(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// FindToken gives the token that has the secret and is not expired. It compares with every token in constant time,
// so the time taken tells nothing about any of them.
func FindToken(tokens []api.Token, secret string, now time.Time) (api.Token, bool) {
	hash := []byte(HashToken(secret))
	found := -1
	for i := range tokens {
		same := subtle.ConstantTimeCompare([]byte(tokens[i].Hash), hash)
		found = subtle.ConstantTimeSelect(same, i, found)
	}
	if found < 0 || Expired(tokens[found], now) {
		return api.Token{}, false
	}
	return tokens[found], true
}

// Expired tells whether a token's time is over.
func Expired(t api.Token, now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt)
}
