package house

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Below what a disk counts as nearly full, and as full.
const (
	scarceShare = 20        // one part of so many of the disk, or of its inodes
	scarceBytes = 4 << 30   // bytes: a large disk has room with less than its share
	noneBytes   = 128 << 20 // bytes
	noneInodes  = 1000
)

// fill is how full a disk is.
type fill int

const (
	ample fill = iota
	scarce
	none
)

// fillOf tells how full a disk is of which so much is free. One that was full before counts as such until a quarter
// more is free than what had it count so: who writes at the limit is not told over and over.
func fillOf(free, total, least, atMost uint64, was fill) fill {
	below := func(limit uint64, f fill) bool {
		if was >= f {
			limit += limit / 4
		}
		return free < limit
	}
	switch {
	case total == 0: // a file system that does not count it
		return ample
	case below(min(least, total/scarceShare), none):
		return none
	case below(min(total/scarceShare, atMost), scarce):
		return scarce
	}
	return ample
}

// Problems says that the disk is full or nearly so, and what to do; it gives nothing while there is room.
func (k *Keeper) Problems() []string {
	var st unix.Statfs_t
	if err := unix.Statfs(k.cfg.Dir, &st); err != nil {
		return []string{fmt.Sprintf("the disk of %s cannot be looked at: %v", k.cfg.Dir, err)}
	}
	size := uint64(st.Bsize)
	k.fills.Lock()
	defer k.fills.Unlock()
	k.fills.bytes = fillOf(st.Bavail*size, usable(&st)*size, noneBytes, scarceBytes, k.fills.bytes)
	k.fills.inodes = fillOf(st.Ffree, st.Files, noneInodes, st.Files, k.fills.inodes)
	var out []string
	for _, f := range []struct {
		fill         fill
		none, scarce string
	}{
		{k.fills.bytes, "no disk space is left", "little disk space is left"},
		{k.fills.inodes, "no inodes are left", "few inodes are left"},
	} {
		switch f.fill {
		case none:
			out = append(out, fmt.Sprintf("%s for %s: builds, pulls, pushes and deployments fail, and tasks' output is lost; free some there, or run `ikada prune --all`", f.none, k.cfg.Dir))
		case scarce:
			out = append(out, fmt.Sprintf("%s for %s; free some there, or run `ikada prune --all`", f.scarce, k.cfg.Dir))
		}
	}
	return out
}
