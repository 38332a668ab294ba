package build

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	indexFile = "cache.db" // BuildKit's index of what steps gave; it does not sync it
	// bootFile holds the ID of the machine's boot while the index is open. One of an earlier boot says that the machine
	// went down without the index having been closed.
	bootFile = "boot"
)

// openIndex removes the index unless it can be trusted, since reading pages that never reached the disk ends the
// process; it tells whether it did. What steps gave is found no more then, and made anew.
func openIndex(root string) (removed bool, err error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return false, fmt.Errorf("read boot's ID: %w", err)
	}
	return openIndexIn(root, strings.TrimSpace(string(b)))
}

func openIndexIn(root, boot string) (removed bool, err error) {
	b, err := os.ReadFile(filepath.Join(root, bootFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, fmt.Errorf("read build cache: %w", err)
	}
	if err == nil && string(b) != boot {
		if err := os.Remove(filepath.Join(root, indexFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return false, fmt.Errorf("remove build cache's index: %w", err)
		}
		removed = true
	}
	if err := os.WriteFile(filepath.Join(root, bootFile), []byte(boot), 0o600); err != nil {
		return removed, fmt.Errorf("open build cache: %w", err)
	}
	return removed, nil
}

// closeIndex says that the index is whole; it must be closed already.
func closeIndex(root string) error {
	f, err := os.OpenFile(filepath.Join(root, indexFile), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("close build cache: %w", err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("close build cache: %w", err)
	}
	if err := os.Remove(filepath.Join(root, bootFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("close build cache: %w", err)
	}
	return nil
}
