package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/ikada/ikada/api"
)

// identify gives the node's name: the one that it had when the data directory was made, since its tasks are placed
// under it and a host's name may change. asked is what the user wants, "" is fallback's matter.
func identify(path, asked, fallback string) (string, error) {
	b, err := os.ReadFile(path)
	switch known := strings.TrimSpace(string(b)); {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", fmt.Errorf("read node's name: %w", err)
	case err == nil && known != "":
		if asked != "" && asked != known {
			return "", api.FieldError("node", asked, fmt.Sprintf("%q, the name that the node of this data directory has had from the start", known))
		}
		return known, nil
	}
	name := asked
	if name == "" {
		name = fallback
	}
	if !nodeName.MatchString(name) {
		return "", api.FieldError("node", name, "a node name: lower-case letters, digits, dots and hyphens, at most 63")
	}
	if err := os.WriteFile(path, []byte(name+"\n"), 0o644); err != nil {
		return "", fmt.Errorf("keep node's name: %w", err)
	}
	return name, nil
}
