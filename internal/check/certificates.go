package check

import (
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// certificates looks at the pairs of a directory, NAME.crt with NAME.key, or NAME.pem with both. The balancer goes on
// with those that are good, so that only a directory that cannot be read is fatal.
func certificates(dir string, now time.Time) Finding {
	const name, remedy = "certificates", "put NAME.crt and NAME.key, or NAME.pem with both, into the directory of --certs"
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fatal(name, remedy, "%v", err)
	}
	pairs := 0
	for _, e := range entries {
		certificate := filepath.Join(dir, e.Name())
		base, extension := strings.TrimSuffix(certificate, filepath.Ext(certificate)), filepath.Ext(certificate)
		key := certificate
		switch extension {
		case ".crt":
			key = base + ".key"
		case ".pem":
		default:
			continue
		}
		pair, err := tls.LoadX509KeyPair(certificate, key)
		switch {
		case err != nil:
			return warning(name, remedy, "%s: %v", certificate, err)
		case now.After(pair.Leaf.NotAfter):
			return warning(name, "renew it", "%s was valid until %s", certificate, pair.Leaf.NotAfter.Format(time.DateOnly))
		case now.Before(pair.Leaf.NotBefore):
			return warning(name, "look at the machine's clock", "%s is valid from %s on", certificate, pair.Leaf.NotBefore.Format(time.DateOnly))
		}
		pairs++
	}
	if pairs == 0 {
		return warning(name, remedy, "there are none in %s: the port for routes over TLS cannot serve", dir)
	}
	return fine(fmt.Sprintf("certificates: %d in %s", pairs, dir))
}
