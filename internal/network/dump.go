package network

import (
	"errors"
	"fmt"

	"github.com/vishvananda/netlink"
)

// dumpTries bounds how often a listing is asked for again; others change interfaces all the time on a busy machine.
const dumpTries = 100

// dump asks the kernel for a list until it was not changed while it was read (NLM_F_DUMP_INTR of netlink(7)): one
// that was may lack entries.
func dump[T any](list func() ([]T, error)) ([]T, error) {
	var all []T
	err := error(netlink.ErrDumpInterrupted)
	for try := 0; try < dumpTries && errors.Is(err, netlink.ErrDumpInterrupted); try++ {
		all, err = list()
	}
	if err != nil {
		return nil, fmt.Errorf("read from kernel: %w", err)
	}
	return all, nil
}
