// Telegraf with the plugins that the bench needs and no others.
//
// Its own program cannot be had without all of its plugins from the module proxy, so this loads the
// configuration and runs the agent as that one does.
package main

import (
	"context"
	"flag"
	"log"
	"os"
	"os/signal"
	"syscall"

	"github.com/influxdata/telegraf/agent"
	"github.com/influxdata/telegraf/config"
	"github.com/influxdata/telegraf/logger"

	_ "github.com/influxdata/telegraf/plugins/inputs/syslog"
	_ "github.com/influxdata/telegraf/plugins/inputs/tail"
	_ "github.com/influxdata/telegraf/plugins/outputs/kafka"
	_ "github.com/influxdata/telegraf/plugins/parsers/grok"
	_ "github.com/influxdata/telegraf/plugins/processors/lookup"
	_ "github.com/influxdata/telegraf/plugins/serializers/json"
)

func main() {
	path := flag.String("config", "telegraf.conf", "the configuration")
	flag.Parse()
	if err := run(*path); err != nil {
		log.Fatal(err)
	}
}

func run(path string) error {
	configuration := config.NewConfig()
	if err := configuration.LoadAll(path); err != nil {
		return err
	}
	if err := logger.SetupLogging(&logger.Config{Quiet: configuration.Agent.Quiet}); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return agent.NewAgent(configuration).Run(ctx)
}
