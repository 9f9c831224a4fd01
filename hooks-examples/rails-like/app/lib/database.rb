# frozen_string_literal: true

require "pstore"

# Stands for the application's database: one file in shared/, which every release uses.
class Database
  def initialize(path)
    @store = PStore.new(path)
  end

  # Yields to the data. A second caller, on this host, waits until the first one is done.
  def change
    @store.transaction { yield @store }
  end

  def versions
    @store.transaction(true) { @store.fetch(:schema_migrations, []) }
  end
end
