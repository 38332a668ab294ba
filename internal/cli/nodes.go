package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/ikada/ikada/client"
)

func (s *shell) nodesCommand() *cobra.Command {
	return s.reading(&cobra.Command{
		Use:        "nodes",
		SuggestFor: []string{"node", "machines"},
		Short:      "List the machines of the cluster",
		GroupID:    groupNode,
		Args:       between(0, 0),
		RunE: s.connected(func(ctx context.Context, c *client.Client, _ []string) error {
			list, err := c.Nodes(ctx)
			if err != nil {
				return err
			}
			if s.json {
				return s.printJSON(list)
			}
			t := s.table("NODE", "STATE", "CORES", "MEMORY", "PLATFORM", "ADDRESS", "VERSION", "SEEN")
			for _, n := range list {
				state := s.out.paint(green, "up")
				switch {
				case n.Down:
					state = s.out.paint(red, "down")
				case n.Drained:
					state = s.out.paint(yellow, "drained")
				}
				t.row(n.Name, state, fmt.Sprintf("%.4g", float64(n.CPUMilli)/1000), size(n.Memory), n.OS+"/"+n.Arch, n.Address, n.Version, s.age(n.SeenAt))
			}
			t.print("There is no node.")
			for _, n := range list {
				for _, p := range n.Problems {
					s.printProblems([]string{n.Name + ": " + p})
				}
			}
			return nil
		}),
	})
}
