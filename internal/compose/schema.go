package compose

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"
	"syscall"

	"github.com/compose-spec/compose-go/v2/schema"
)

// compileSchema has compose-go compile its schema, which it does once in a process. It names the schema by a URL that
// it makes of the working directory, without escaping it: in /srv/100%/shop every file would be refused. So where the
// directory's path is no URL it is left for that moment, which is before anything else is read by a relative path.
var compileSchema = sync.OnceValue(func() error {
	dir, err := os.Getwd()
	if err != nil || plainURL(dir) {
		return nil // without a working directory nothing can be done about it: the schema says so itself
	}
	here, err := os.Open(".")
	if err != nil {
		return fmt.Errorf("open working directory: %w", err)
	}
	defer func() { _ = here.Close() }()
	if err := os.Chdir("/"); err != nil {
		return fmt.Errorf("leave working directory: %w", err)
	}
	_ = schema.Validate(map[string]any{}) // nothing is to be found out about an empty file
	// Back by the descriptor: the path may lead elsewhere by now.
	if err := syscall.Fchdir(int(here.Fd())); err != nil {
		return errors.Join(fmt.Errorf("return to working directory: %w", err), os.Chdir(dir))
	}
	return nil
})

// plainURL tells whether a path stands in a URL as it is.
func plainURL(path string) bool {
	u, err := url.Parse("file://" + path)
	return err == nil && u.Path == path && u.Fragment == "" && u.RawQuery == ""
}
