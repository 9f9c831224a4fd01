#!/usr/bin/env ruby
# What the CodeDeploy agent 1.8.1 makes of a case's appspec: its own parser and its own planner, on a host that is empty.
#
#   tests/corpus/oracle.rb AGENT CASE verdict    prints expected.json
#   tests/corpus/oracle.rb AGENT CASE plan       prints install-plan.json
#
# AGENT is a checkout of the agent's repository, CASE a directory of tests/corpus/cases. Outside the tests: it needs Ruby 3.1.
require 'json'
require 'set'
require 'tmpdir'
require 'yaml'

agent, kase, wanted = ARGV
abort 'usage: oracle.rb AGENT CASE verdict|plan' unless %w[verdict plan].include?(wanted)
$LOAD_PATH.unshift("#{agent}/lib")

module InstanceAgent
  # The agent's log, which nobody reads here.
  class Log
    SEVERITIES = %w[debug info warn error fatal unknown].freeze
    SEVERITIES.each { |severity| define_singleton_method(severity) { |*_| } }
  end

  # The one fact about the platform that the parser asks for.
  module Platform
    def self.util
      Struct.new(:supported_oses).new(['linux'])
    end
  end
end

specification = 'instance_agent/plugins/codedeploy/application_specification'
%w[acl_info ace_info context_info range_info application_specification].each { |file| require "#{specification}/#{file}" }
require 'instance_agent/plugins/codedeploy/install_instruction'
require 'instance_agent/plugins/codedeploy/installer'
Plugin = InstanceAgent::Plugins::CodeDeployPlugin

# The host's files are those of this list; the files of the bundle are real ones.
HOST = { files: Set.new, directories: Set.new(['/']), archive: nil }
class << File
  alias real_exist? exist?
  alias real_directory? directory?

  def exist?(path)
    return real_exist?(path) if path.to_s.start_with?(HOST[:archive])

    HOST[:files].include?(expand_path(path)) || directory?(path)
  end

  def directory?(path)
    return real_directory?(path) if path.to_s.start_with?(HOST[:archive])

    HOST[:directories].include?(expand_path(path))
  end
end

class << Dir
  alias unsorted_entries entries

  def entries(path)
    unsorted_entries(path).sort
  end
end

def make_bundle(archive, kase)
  corpus = File.expand_path(__dir__)
  links = IO.readlines("#{corpus}/bundle-links.tsv", chomp: true).to_h { |line| line.split("\t") }
  IO.readlines("#{corpus}/bundle.tsv", chomp: true).each do |line|
    path = line.split("\t").first
    at = "#{archive}/#{path}"
    FileUtils.mkdir_p(File.dirname(at))
    links.key?(path) ? File.symlink(links[path], at) : IO.write(at, path)
  end
  appspec = Dir["#{kase}/appspec.*"].first
  FileUtils.cp(appspec, archive)
  Plugin::ApplicationSpecification::ApplicationSpecification.parse(IO.read(appspec))
end

def instructions(spec, behavior)
  options = { deployment_archive_dir: HOST[:archive], deployment_instructions_dir: '/none', file_exists_behavior: behavior }
  commands = Plugin::Installer.new(options).send(:generate_instructions, spec).command_array
  said = commands.map do |command|
    fields = command.to_h.transform_keys(&:to_s)
    rest = fields.reject { |key, _| key == 'type' }
    { 'command' => fields['type'].to_s }.merge(rest.transform_values { |v| v.is_a?(String) ? v.sub(HOST[:archive], '{archive}') : v })
  end
  { 'error' => nil, 'instructions' => said }
rescue StandardError => e
  { 'error' => { 'class' => e.class.to_s, 'message' => e.message.gsub(HOST[:archive], '{archive}') }, 'instructions' => nil }
end

def plan(spec)
  first = instructions(spec, 'DISALLOW')
  said = first['instructions'] || []
  copies = said.select { |i| i['command'] == 'copy' }
  absent = copies.map { |i| i['source'] }.reject do |source|
    at = source.sub('{archive}', HOST[:archive])
    File.symlink?(at) || File.exist?(at)
  end
  plan = { 'deployment_file_exists_behavior' => 'DISALLOW', 'error' => first['error'],
           'counts' => said.group_by { |i| i['command'] }.transform_values(&:size),
           'copy_sources_that_do_not_exist' => absent, 'instructions' => first['instructions'] }
  return plan if said.empty?

  # The same on a host on which all directories and every other file exist.
  HOST[:directories].merge(said.select { |i| i['command'] == 'mkdir' }.map { |i| i['directory'] })
  HOST[:files].merge(copies.each_slice(2).map { |pair| pair.first['destination'] })
  redeploy = %w[DISALLOW OVERWRITE RETAIN].to_h { |behavior| [behavior, instructions(spec, behavior)] }
  plan.merge('redeploy' => { 'existing_files' => HOST[:files].to_a }.merge(redeploy))
end

def context(info)
  info && { 'user' => info.user, 'type' => info.type, 'range' => info.range&.get_range }
end

def parsed(spec)
  permissions = spec.permissions.map do |p|
    { 'object' => p.object, 'pattern' => p.pattern, 'except' => p.except, 'type' => p.type, 'owner' => p.owner,
      'group' => p.group, 'mode' => p.mode&.mode, 'acls' => p.acls&.get_acl, 'context' => context(p.context) }
  end
  script = ->(s) { { 'location' => s.location, 'runas' => s.runas, 'timeout' => s.timeout, 'sudo' => s.sudo } }
  { 'version' => spec.version, 'os' => spec.os,
    'files' => spec.files.map { |f| { 'source' => f.source, 'destination' => f.destination } },
    'file_exists_behavior' => spec.file_exists_behavior, 'permissions' => permissions,
    'hooks' => spec.hooks.transform_values { |scripts| scripts.map(&script) } }
end

Dir.mktmpdir do |archive|
  HOST[:archive] = archive
  begin
    spec = make_bundle(archive, kase)
    verdict = { 'accepted' => true, 'error_class' => nil, 'error_message' => nil, 'parsed' => parsed(spec),
                'lifecycle_check' => { 'ok' => true } }
  rescue Exception => e # The agent's own refusals are no StandardError.
    verdict = { 'accepted' => false, 'error_class' => e.class.to_s, 'error_message' => e.message.lines.first&.chomp,
                'parsed' => nil }
    abort e.message if wanted == 'plan'
  end
  puts JSON.pretty_generate(wanted == 'plan' ? plan(spec) : verdict)
end
