# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_weir_agent_global_optspecs
    string join \n log= h/help V/version
end

function __fish_weir_agent_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_weir_agent_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_weir_agent_using_subcommand
    set -l cmd (__fish_weir_agent_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c weir-agent -n "__fish_weir_agent_needs_command" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_needs_command" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -s V -l version -d 'Print version'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "run" -d 'Runs the agent until SIGTERM or SIGINT; SIGHUP takes over the changed configuration'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "plan" -d 'Says what a running agent would do about a changed configuration, and does nothing'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "check" -d 'Checks a configuration, without starting anything'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "test" -d 'Tests what a configuration makes of given inputs, without starting anything; the builds for gateways lack it'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "tap" -d 'Shows events of the running agent as they pass'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "top" -d 'Shows how the running agent fares, in a terminal'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "spool" -d 'Looks into the queue on disk, checks it, mends it, or prints what is in it'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "explain" -d 'Says what the parser makes of the lines on standard input'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "score" -d 'Scores a table of readings (CSV) as the running agent would, without starting anything'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "templates" -d 'Groups the messages on standard input, one a line, into templates'
complete -c weir-agent -n "__fish_weir_agent_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand run" -s c -l config -d 'The configuration file' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand run" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand run" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand plan" -s c -l config -d 'The configuration file that is to be taken over' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand plan" -l against -d 'The one that is in force; default: what the agent with the same data folder took over last' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand plan" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand plan" -l detailed-exitcode -d 'Exit with 0 when there is nothing to do, 3 when a reload does it, 4 when it takes a restart; without this with 0 when a reload does it, 1 when it takes a restart'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand plan" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand check" -s c -l config -d 'The configuration file' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand check" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand check" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand test" -s c -l config -d 'The configuration to test' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand test" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand test" -l json -d 'Writes one JSON object a test, with all that came'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand test" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -s c -l config -d 'The agent\'s configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l dir -d 'The agent\'s data folder (`agent.data_dir`)' -r -F
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l source -d 'Only events of this source; `*` stands for any text, also below' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l device -d 'Only of this device or host' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l kind -d 'Only of this kind' -r -f -a "log\t''
reading\t''
loss\t''
alert\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l text -d 'Only records whose JSON holds this text' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l sample -d 'One in so many of those that fit' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l per-s -d 'At most so many a second; 0: no limit' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l limit -d 'Ends after so many records' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l dropped -d 'Also events that a filter rule drops'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -l json -d 'Writes the records as JSON, one a line, with the lane of each'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand tap" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -s c -l config -d 'The configuration of the agent, for the address of its status' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -l at -d 'The address of its status itself; default: 127.0.0.1:9598' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -l every -d 'Seconds between two looks, a day at most' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -l once -d 'Writes one table and ends; so it does where standard output is no terminal'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -l json -d 'Writes one JSON object and ends'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand top" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -f -a "inspect" -d 'Shows lanes, streams, events that wait, bytes and losses'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -f -a "verify" -d 'Reads everything and checks every checksum; exit code 1 if something is damaged'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -f -a "repair" -d 'Writes damaged segments anew with every whole batch; what is lost is told to Kafka later. The agent must not run'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -f -a "export" -d 'Prints the events that wait for Kafka as NDJSON'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and not __fish_seen_subcommand_from inspect verify repair export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from inspect" -s c -l config -d 'The agent\'s configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from inspect" -l dir -d 'The agent\'s data folder (`agent.data_dir`)' -r -F
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from inspect" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from inspect" -l json -d 'Writes one JSON object instead of text'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from inspect" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from verify" -s c -l config -d 'The agent\'s configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from verify" -l dir -d 'The agent\'s data folder (`agent.data_dir`)' -r -F
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from verify" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from verify" -l json -d 'Writes one JSON object instead of text'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from repair" -s c -l config -d 'The agent\'s configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from repair" -l dir -d 'The agent\'s data folder (`agent.data_dir`)' -r -F
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from repair" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from repair" -l json -d 'Writes one JSON object instead of text'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from repair" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -s c -l config -d 'The agent\'s configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l dir -d 'The agent\'s data folder (`agent.data_dir`)' -r -F
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l lane -d 'Only this lane: alerts, urgent, readings or rest' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l all -d 'Also what Kafka has already, as far as it is still on disk'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l raw -d 'The bytes as received, one event a line, instead of JSON; alerts have none'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -l dead -d 'The records that Kafka refused, with the reason, instead of the spool'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "inspect" -d 'Shows lanes, streams, events that wait, bytes and losses'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Reads everything and checks every checksum; exit code 1 if something is damaged'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "repair" -d 'Writes damaged segments anew with every whole batch; what is lost is told to Kafka later. The agent must not run'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "export" -d 'Prints the events that wait for Kafka as NDJSON'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand spool; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l received-at -d 'The receive time, which settles the year of stamps that have none; default: now' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l zone -d 'The time zone of stamps that have none, such as Europe/Berlin; default: the source\'s, else this machine\'s' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l peer -d 'The address of the sender, which is the host where a line names none' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -s c -l config -d 'Takes the settings of a source and the filter rules from this configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l source -d 'Which source of the configuration; default: the first' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -l json -d 'Reads {"raw": …} or {"raw_b64": …} a line, writes one JSON event a line'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand explain" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -l values -d 'Columns to score, separated by commas; default: all but the stamps' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -l device -d 'The name of the device, for rules of the configuration; default: the name of the file' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -s c -l config -d 'Takes `[score]` from this configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -l json -d 'Writes one JSON object a row'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand score" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand templates" -s c -l config -d 'Takes the settings of `[score.log]` from this configuration' -r
complete -c weir-agent -n "__fish_weir_agent_using_subcommand templates" -l log -d 'How to write the log to standard error' -r -f -a "text\t''
json\t''"
complete -c weir-agent -n "__fish_weir_agent_using_subcommand templates" -l json -d 'Writes {"template": …, "text": …} for each line, in order'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand templates" -s h -l help -d 'Print help'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "run" -d 'Runs the agent until SIGTERM or SIGINT; SIGHUP takes over the changed configuration'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "plan" -d 'Says what a running agent would do about a changed configuration, and does nothing'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "check" -d 'Checks a configuration, without starting anything'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "test" -d 'Tests what a configuration makes of given inputs, without starting anything; the builds for gateways lack it'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "tap" -d 'Shows events of the running agent as they pass'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "top" -d 'Shows how the running agent fares, in a terminal'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "spool" -d 'Looks into the queue on disk, checks it, mends it, or prints what is in it'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "explain" -d 'Says what the parser makes of the lines on standard input'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "score" -d 'Scores a table of readings (CSV) as the running agent would, without starting anything'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "templates" -d 'Groups the messages on standard input, one a line, into templates'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and not __fish_seen_subcommand_from run plan check test tap top spool explain score templates help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "inspect" -d 'Shows lanes, streams, events that wait, bytes and losses'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "verify" -d 'Reads everything and checks every checksum; exit code 1 if something is damaged'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "repair" -d 'Writes damaged segments anew with every whole batch; what is lost is told to Kafka later. The agent must not run'
complete -c weir-agent -n "__fish_weir_agent_using_subcommand help; and __fish_seen_subcommand_from spool" -f -a "export" -d 'Prints the events that wait for Kafka as NDJSON'
