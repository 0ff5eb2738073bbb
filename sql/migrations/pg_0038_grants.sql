-- depends: pg_0037_import
-- Who may do what: three roles, one declared matrix. Nothing is granted to PUBLIC.
do $$ begin perform set_config('search_path', kompanion._install_path(), true); end $$;

create function kompanion.grant_roles()
    returns integer
    language plpgsql
    volatile
    set search_path from current
as $grant_roles$
-- Grants the matrix below to the roles that exist; run it again after a missing role was created.
-- A role may what the ones before it may. Functions run as their caller, so the tables they touch are granted with them.
declare
    c_roles    constant text[] := array['kompanion_reader', 'kompanion_writer', 'kompanion_admin'];
    c_tables   constant text[] := array['select', 'select, insert, update, delete', 'select, insert, update, delete'];
    c_lasting  constant text[] := array['select', 'select, insert', 'select, insert, update, delete'];  -- namespaces and history
    c_readers  constant text[] := array['namespace_id', 'namespace_segments', 'is_live', 'setting', 'list_namespaces', 'list_threads',
        'list_models', 'get_item', 'get_chunks', 'list_items', 'item_history', 'item_as_of', 'compile_filter', 'metadata_number', 'metadata_text',
        'search', 'explain_search', 'measure_recall', 'stats', 'index_advice', 'index_statements', 'export_registry', 'export_items', 'export_marks', 'embedded_chunks'];
    c_writers  constant text[] := array['ensure_namespace', 'ensure_user', 'ensure_thread', 'close_thread', 'upsert_item', 'upsert_items',
        'begin_staging', 'merge_staged', 'delete_item', 'restore_item', 'touch_item', 'revert_item', 'put_chunks', 'put_embeddings',
        'pending_embeddings', 'release_embeddings'];
    c_own      constant text[] := array['ensure_index', 'swap_index', 'tune_index', 'index_metadata_key', 'grant_roles'];  -- need the owner of the tables anyway
    v_count    integer := 0;
    v_rank     integer;
    r          record;
begin
    perform from settings s where s.name = 'target_recall' for no key update;  -- as _write_model_scans: two at a time would fail
    perform _secure_views();
    for v_rank in 1 .. 3 loop
        continue when not exists (select 1 from pg_roles x where x.rolname = c_roles[v_rank]);
        v_count := v_count + 1;
        execute format('grant usage on schema kompanion to %I', c_roles[v_rank]);
        -- The registry of models and the settings are the admin's to change, and retention too.
        execute format('grant select on all tables in schema kompanion to %I', c_roles[v_rank]);
        execute format('grant select on all sequences in schema kompanion to %I', c_roles[v_rank]);  -- for pg_dump
        if v_rank > 1 then
            execute format('grant %s on kompanion.users, kompanion.threads, kompanion.memory_items, kompanion.memory_chunks, '
                           'kompanion.embeddings, kompanion.embedding_queue to %I', c_tables[v_rank], c_roles[v_rank]);
            -- A deleted namespace takes everything in it along, and history is evidence: a writer adds to both, no more.
            execute format('grant %s on kompanion.namespaces, kompanion.memory_item_revisions to %I', c_lasting[v_rank], c_roles[v_rank]);
        end if;
        if v_rank = 3 then
            execute format('grant %s on kompanion.embedding_models, kompanion.settings to %I', c_tables[v_rank], c_roles[v_rank]);
        end if;
        for r in
            select p.oid::regprocedure as signature
            from pg_proc p
            where p.pronamespace = 'kompanion'::regnamespace and p.proname <> all (c_own) and p.prorettype <> 'trigger'::regtype
              and (left(p.proname, 1) = '_' or p.proname = any (c_readers)
                   or v_rank > 1 and p.proname = any (c_writers) or v_rank > 2)
        loop
            execute format('grant execute on function %s to %I', r.signature, c_roles[v_rank]);
        end loop;
    end loop;
    return v_count;
end;
$grant_roles$;
revoke all on function kompanion.grant_roles() from public;
comment on function kompanion.grant_roles() is
    'Grant the roles kompanion_reader, kompanion_writer and kompanion_admin what they may; returns how many of them exist. Run it as the owner of the schema, and again after moving from PostgreSQL 14 to a later one: row security then holds for the views too.';

do $$ begin perform kompanion.grant_roles(); end $$;
