package compose

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/ikada/ikada/api"
)

func (c *converter) volumes() map[string]api.VolumeSpec {
	out := map[string]api.VolumeSpec{}
	for _, key := range slices.Sorted(maps.Keys(c.project.Volumes)) {
		v := c.project.Volumes[key]
		if v.Driver != "" && v.Driver != "local" {
			c.refuse("volumes."+key+".driver", v.Driver, "not supported; expected local")
		}
		spec := api.VolumeSpec{External: bool(v.External), Labels: v.Labels}
		// Normalisation names every volume PROJECT_KEY; only another name is the user's own.
		if v.Name != c.project.Name+"_"+key {
			spec.Name = v.Name
		}
		out[key] = spec
	}
	return out
}

func (c *converter) mounts(field string, s *types.ServiceConfig) []api.Mount {
	var out []api.Mount
	for i, v := range s.Volumes {
		if m, ok := c.mount(fmt.Sprintf("%s.volumes[%d]", field, i), v); ok {
			out = append(out, m)
		}
	}
	for i, t := range s.Tmpfs {
		out = append(out, c.tmpfs(fmt.Sprintf("%s.tmpfs[%d]", field, i), t))
	}
	return out
}

func (c *converter) mount(field string, v types.ServiceVolumeConfig) (api.Mount, bool) {
	m := api.Mount{Type: v.Type, Source: v.Source, Target: v.Target, ReadOnly: v.ReadOnly}
	switch v.Type {
	case types.VolumeTypeVolume:
		if v.Volume != nil {
			m.NoCopy, m.SubPath = v.Volume.NoCopy, v.Volume.Subpath
		}
	case types.VolumeTypeBind:
		m.Create = v.Bind == nil || bool(v.Bind.CreateHostPath)
		if v.Bind != nil {
			c.bind(field+".bind", v.Bind)
		}
	case types.VolumeTypeTmpfs:
		if v.Source != "" {
			c.bad(field+".source", v.Source, "nothing: a tmpfs has no source")
		}
		m.Source = ""
		if v.Tmpfs != nil {
			m.Size, m.Mode = int64(v.Tmpfs.Size), v.Tmpfs.Mode
		}
	default:
		c.refuse(field+".type", v.Type, "not supported; expected volume, bind or tmpfs")
		return m, false
	}
	return m, true
}

func (c *converter) bind(field string, b *types.ServiceVolumeBind) {
	switch b.Propagation {
	case "", types.PropagationRPrivate, types.PropagationPrivate:
	default:
		c.refuse(field+".propagation", b.Propagation, "not supported; expected rprivate")
	}
	if b.Recursive != "" && b.Recursive != "enabled" {
		c.refuse(field+".recursive", b.Recursive, "not supported; expected enabled")
	}
}

// tmpfs reads "/path:size=64m,mode=1777,uid=1000".
func (c *converter) tmpfs(field, text string) api.Mount {
	target, options, _ := strings.Cut(text, ":")
	m := api.Mount{Type: api.MountTmpfs, Target: path.Clean(target)}
	for o := range strings.SplitSeq(options, ",") {
		key, value, _ := strings.Cut(o, "=")
		switch key {
		case "", "rw", "nosuid", "nodev", "noexec":
		case "ro":
			m.ReadOnly = true
		case "exec":
			m.Exec = true
		case "size":
			var size types.UnitBytes
			if err := size.DecodeMapstructure(value); err != nil || size <= 0 {
				c.bad(field, o, "a size such as size=64m")
			}
			m.Size = int64(size)
		case "mode":
			mode, err := strconv.ParseUint(value, 8, 12)
			if err != nil {
				c.bad(field, o, "an octal mode such as mode=1777")
			}
			m.Mode = uint32(mode)
		case "uid", "gid":
			id, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				c.bad(field, o, "a number such as "+key+"=1000")
			}
			if key == "uid" {
				m.UID = int(id)
			} else {
				m.GID = int(id)
			}
		default:
			c.refuse(field, o, "unknown option; expected size, mode, uid, gid, ro, rw, exec, noexec, nosuid or nodev")
		}
	}
	return m
}
