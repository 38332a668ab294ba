package cli

import (
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/ikada/ikada/api"
)

const day = 24 * time.Hour

// parseTTL reads a time in Go's notation with days before it: "3d", "1d12h", "90m"; "" is 0.
func parseTTL(what, text string) (api.Duration, error) {
	if text == "" {
		return 0, nil
	}
	wrong := func() (api.Duration, error) {
		return 0, usagef("%s %q: expected a time from %s to %dd, such as 12h or 3d", what, text, api.MinTTL, int(api.MaxTTL.Std()/day))
	}
	total := time.Duration(0)
	rest := text
	if days, after, ok := strings.Cut(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return wrong()
		}
		total, rest = time.Duration(n)*day, after
	}
	if rest != "" {
		d, err := time.ParseDuration(rest)
		if err != nil || d < 0 {
			return wrong()
		}
		total += d
	}
	if ttl := api.Duration(total); ttl >= api.MinTTL && ttl <= api.MaxTTL {
		return ttl, nil
	}
	return wrong()
}

// readBounded reads a secret whole, and no more than one may have.
func readBounded(r io.Reader, what string) ([]byte, error) {
	value, err := io.ReadAll(io.LimitReader(r, api.MaxSecretBytes+1))
	switch {
	case err != nil:
		return nil, api.Errorf(api.Invalid, "read %s: %w", what, err)
	case len(value) == 0:
		return nil, api.Errorf(api.Invalid, "%s is empty; expected a secret's value", what)
	case len(value) > api.MaxSecretBytes:
		return nil, api.Errorf(api.Invalid, "%s is longer than the %d bytes that a secret may have", what, api.MaxSecretBytes)
	}
	return value, nil
}
