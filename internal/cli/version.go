package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/api"
	"github.com/ikada/ikada/client"
)

// versionWait bounds how long the server is asked: the client's own version does not need it.
const versionWait = 2 * time.Second

func (s *shell) versionCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:     "version",
		Short:   "Show the version of this program and of the server",
		GroupID: groupNode,
		Args:    between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			ctx, cancel := context.WithTimeout(ctx, versionWait)
			defer cancel()
			out := struct {
				Client string       `json:"client"`
				Server *api.Version `json:"server,omitempty"`
			}{Client: s.Version}
			server, err := c.Version(ctx)
			if err == nil {
				out.Server = &server
			}
			if s.json {
				return s.printJSON(out)
			}
			s.say("client %s", out.Client)
			if err != nil {
				s.say("server: %v", err)
			} else {
				s.say("server %s on node %s", server.Version, server.Node)
			}
			return nil
		}),
	})
}
